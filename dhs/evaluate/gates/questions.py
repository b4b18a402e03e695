"""What each gate asks, what a FAIL means and what to do about it."""

from dhs.inject.validate.gate import Question

NULL_INJECTION = Question(
    "null_injection",
    "Null injection",
    "The pipeline leaves a trace on injections beside the arc (noise, resampling, a shift), and the finder reads it: "
    "its simulated recall is not that of lenses.",
    "Compare a null with its galaxy pixel by pixel; treat controls as injections in every step.",
)
CORE_ONLY = Question(
    "core_only",
    "Core only",
    "The lens's core alone, on its own galaxy, passes for a lens: cores of injections are brighter or of another "
    "colour, and real lenses are not.",
    "Run inject.py task=selfcheck (brightness); train with augment.core_dropout_probability above 0.",
)
ANNULUS_ONLY = Question(
    "annulus_only",
    "Annulus only",
    "The arc on its untouched galaxy is not enough: the finder needs something else that goes with arcs in training.",
    "See which of the other gates fails; train on what is left when it is mended.",
)
ARC_SUPPRESSED = Question(
    "arc_suppressed",
    "Arc suppressed",
    "Without the arc it is still called a lens: the score comes from the core, the outskirts, the noise or the "
    "normalisation.",
    "See core_only, null_injection and normalisation for which; mend it and train again.",
)
AZIMUTHAL_SHUFFLE = Question(
    "azimuthal_shuffle",
    "Azimuthal shuffle",
    "Shapes do not matter to the finder: light of the right colour at the right radius is enough, as spirals, "
    "companions and rings have it.",
    "Add such negatives (sky class weights, a mining round), or residual channels (preprocess=residual_median).",
)
BAND_PERMUTATION = Question(
    "band_permutation",
    "Band permutation",
    "Red arcs around blue galaxies, which do not exist, score like blue ones around red: the finder does not use "
    "colour; or galaxies in odd colours alone pass for lenses.",
    "Give it all bands or a difference channel (preprocess=difference_fit); add red rings and spirals as negatives.",
)
ARC_COLOUR = Question(
    "arc_colour",
    "Arc colour",
    "The same arcs at the same S/N are lost in other colours that real sources have: the finder knows the arcs of its "
    "training by their colour (all Gen5 arcs had g - r = -0.32).",
    "Draw each source's own colours (colour=population) and check the set with inject.py task=validate.",
)
FRAME_POSITION = Question(
    "frame_position",
    "Frame position",
    "A lens that is turned, mirrored or moved by a pixel is none any more: the finder knows where in the frame arcs or "
    "lenses lay.",
    "Train with augment=dihedral_shift; check for one orientation or one offset in the injections (task=sheet).",
)
NORMALISATION = Question(
    "normalisation",
    "Normalisation statistics",
    "The ring that normalisation divides by tells the label: noise was added to injections, or their sky was "
    "subtracted differently.",
    "Treat controls as injections in every step; widen the stamp or preprocess.annulus_inner_fraction.",
)
CORE_BRIGHTNESS = Question(
    "core_brightness",
    "Core brightness ratio",
    "Injection changes the light of the galaxy's core in z, where arcs hardly reach: unlensed source light, or the "
    "wings of a wrong PSF, sit on the lens.",
    "Run inject.py task=selfcheck (brightness, background); look at the arc alone with task=one.",
)
CONDITIONS = Question(
    "conditions",
    "Seeing and depth only",
    "Seeing and depth alone tell hosts from controls, or govern the score of galaxies without arcs: the finder has "
    "learnt the survey.",
    "Take hosts and negatives from the same conditions (inject.controls=unpaired or paired on one list).",
)

OF_PAIRS = (
    NULL_INJECTION,
    CORE_ONLY,
    ANNULUS_ONLY,
    ARC_SUPPRESSED,
    AZIMUTHAL_SHUFFLE,
    BAND_PERMUTATION,
    ARC_COLOUR,
    FRAME_POSITION,
    NORMALISATION,
    CORE_BRIGHTNESS,
)
"""Those that need a lens beside its own galaxy."""
