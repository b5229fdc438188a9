"""Why one namespace cannot reach another: the way is walked, checked, and proven with packets."""

from datapath.diagnose.causes import Cause
from datapath.diagnose.judge import Diagnosis, diagnose
from datapath.diagnose.mending import mend

__all__ = ["Cause", "Diagnosis", "diagnose", "mend"]
