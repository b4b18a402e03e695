"""Sources: unit-flux templates of unlensed galaxies, all behind one interface (`dhs.source.base.Source`)."""
