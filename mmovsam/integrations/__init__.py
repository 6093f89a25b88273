"""The model in other programs: a function of CVAT and a model of FiftyOne."""
