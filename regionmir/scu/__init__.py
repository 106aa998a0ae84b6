"""Our own requests to DICOM peers: echo, store, find, get and move."""
