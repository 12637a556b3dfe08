"""Reads answers in sentences, paragraphs and reports, by rules.

`assertion` decides whether an answer asserts the ground truth of an open question, `polarity`
whether it means yes or no. Both work on `sentences.Sentence`, in which each word has its flags,
such as negated or in doubt. In the order of the imports:

- words: `terms` (stems and names of the vocabulary), `cues` (phrases that deny or doubt);
- texts: `sentences` (one sentence), `reading` (which sentences of a text answer), `languages`;
- open answers: `golds` (the parts of a ground truth), `mentions` (where a sentence names a part),
  `competing` (other values beside it), `measures` (counts and sizes), `assertion` (the verdict);
- yes/no questions: `propositions` (what a question asks), `opposites` (antonyms), `comparing`
  (which side is the larger), `polarity` (yes or no).
"""
