"""Prose: whether a sentence, a paragraph or a report asserts the gold, and yes or no of a question.

terms: words, spelling, stems, the vocabulary. cues, sentences, reading: which sentences answer, and
what their words are. golds, mentions, competing, measures, assertion: open answers. propositions,
opposites, polarity: yes/no questions.
"""
