"""Calibration and evaluation samples: the user's real data, preprocessed as the device will."""
