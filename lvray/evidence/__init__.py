"""Agreement statistics, figures and the report. Knows no Ray and no torch."""
