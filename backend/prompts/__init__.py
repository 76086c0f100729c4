"""The prompt language: pure text, no torch. A1111 1.10.1 is the reference, docs/prompt-language.md the page for users.

Order of reading: styles, comments, dynamic prompts (`expand`), networks, AND (`composition`), `schedule`, `attention`,
`chunks`. Every reader is total: whatever does not parse is literal text, never an error.
"""
