"""One page that shows a run from footage to film: `skyreels_platform.report.page.build_report`.

This package alone loads nothing heavy; `plots` loads Matplotlib, `pictures` PyAV.
"""
