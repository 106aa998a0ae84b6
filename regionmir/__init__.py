"""RegionMIR: a DICOM node that finds studies with a similar anatomical region."""

__version__ = "0.1.0"
