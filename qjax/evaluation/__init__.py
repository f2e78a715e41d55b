"""Metrics, statistics and reports: pure functions of predictions and labels."""

from qjax.evaluation.reports import Report as Report
from qjax.evaluation.reports import compare_reports as compare_reports
from qjax.evaluation.reports import entity_report as entity_report
from qjax.evaluation.reports import format_report as format_report
from qjax.evaluation.reports import majority_baseline as majority_baseline
from qjax.evaluation.reports import majority_tag_baseline as majority_tag_baseline
from qjax.evaluation.reports import majority_warning as majority_warning
from qjax.evaluation.reports import sentence_report as sentence_report
from qjax.evaluation.statistics import Interval as Interval
from qjax.evaluation.statistics import mean_interval as mean_interval
from qjax.evaluation.statistics import paired_interval as paired_interval
