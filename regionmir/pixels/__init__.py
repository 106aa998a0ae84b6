"""From a data set to what a person would see: eligibility, decoding, display values, pictures, comparison."""
