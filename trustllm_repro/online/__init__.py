"""Online safety analysis: can unsafe output be recognised while it is generated?"""
