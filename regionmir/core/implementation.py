"""How RegionMIR names itself to other DICOM implementations (PS3.7 D.3.3.2, PS3.10 7.1)."""

IMPLEMENTATION_CLASS_UID = "2.25.260883152104235614894087056655675854041"
"""(0002,0012), also sent in every association; a random UUID (PS3.5 B.2), never to change."""

IMPLEMENTATION_VERSION_NAME = "REGIONMIR_0.1"
"""(0002,0013), at most 16 characters."""
