"""A question as a value, its answer, and what the answer may reveal: shared by C-FIND, DICOMweb and the API."""
