"""Benchmark: methods compared on the same images, repeatably, with confidence intervals.

>>> from kfine.benchmark import Outcome, benchmark
>>> results = benchmark("brains", "report", methods=["bicubic", "vdm"])     # doctest: +SKIP
"""

from kfine.benchmark.competitors import Competitor, Outcome, chosen
from kfine.benchmark.degradations import DEGRADATIONS, Degradation
from kfine.benchmark.results import Results
from kfine.benchmark.running import benchmark

__all__ = ["DEGRADATIONS", "Competitor", "Degradation", "Outcome", "Results", "benchmark", "chosen"]
