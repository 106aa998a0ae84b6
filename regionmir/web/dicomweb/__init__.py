"""DICOMweb (PS3.18): QIDO-RS, WADO-RS and STOW-RS over the matching, copies and filing that DIMSE uses too."""
