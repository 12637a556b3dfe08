"use strict";
// What the readers of the first round answered, for an adjudicator. Texts are set as text only.

function showEarlier(verdicts) {
  document.getElementById("earlier").hidden = !verdicts;
  document.getElementById("earlier-list").replaceChildren(...(verdicts || []).map((verdict) => {
    const line = document.createElement("li");
    const ratings = Object.entries(verdict.ratings).map(([key, answer]) => `${key}: ${answer}`);
    line.textContent = `${verdict.reader}: ${ratings.join(", ")}.`
      + (verdict.comment ? ` \u201c${verdict.comment}\u201d` : "");
    return line;
  }));
}
