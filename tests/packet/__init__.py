"""Programs run on single frames, against a reference of the policy in Python."""
