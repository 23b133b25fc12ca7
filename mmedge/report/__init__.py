"""The report: report.json says everything, report.html shows it to people."""
