"""Capturing at several places at once: frames in one order of time, labelled, in one file."""

from datapath.capture.places import Place, advice, places
from datapath.capture.session import Capture, Frame, capture

__all__ = ["Capture", "Frame", "Place", "advice", "capture", "places"]
