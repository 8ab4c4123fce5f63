"""online_models/learners."""
