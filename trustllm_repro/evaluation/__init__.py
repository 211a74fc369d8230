"""Any model's row: what is asked, answered, judged and written."""
