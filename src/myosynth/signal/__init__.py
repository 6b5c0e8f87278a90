"""Filters, segmentation, splitting and features of EMG: numpy and scipy only."""
