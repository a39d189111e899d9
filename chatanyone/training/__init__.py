"""Training: one solver for every net, on one process or on many."""

from chatanyone.training.processes import Processes
from chatanyone.training.settings import SolverConfig
from chatanyone.training.solver import Solver
from chatanyone.training.task import Task

__all__ = ["Processes", "Solver", "SolverConfig", "Task"]
