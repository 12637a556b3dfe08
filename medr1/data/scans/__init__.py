"""Scans as hospitals have them: DICOM files and series, NIfTI volumes, whole-slide images."""
