"""The inspector of an agent records requests and responses, shows them on a page and replays them. Start at ``tap``."""
