"""`python -m mlrm.tables`: the tables in the texts, made of the committed JSON.

In a text a table stands between the lines `<!-- table NAME -->` and `<!-- end -->`; the names are those of
`mlrm.tables.__main__.TABLES`.
"""
