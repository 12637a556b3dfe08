"use strict";
// Tables that are sorted by a click on a column's title. Without JavaScript they keep their order.
(() => {
  // a number if the text begins with one, else the text; a dash, which is not recorded, is last
  const valueOf = (row, column) => {
    const text = row.cells[column].firstChild?.textContent.trim() ?? "";
    if (text === "" || text === "–" || text === "-") return null;
    const number = Number.parseFloat(text.replace(/[,<]/g, ""));
    return row.cells[column].classList.contains("num") && !Number.isNaN(number) ? number : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  function sort(table, header) {
    const column = header.cellIndex;
    // numbers begin with the largest, texts with a
    const first = header.classList.contains("num") ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = header.getAttribute("aria-sort") === first ? other : first;
    for (const cell of header.parentElement.cells) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * compare(a, b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.tHead.rows[0].cells) {
      if (header.dataset.fixed !== undefined) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, header));
      header.append(button);
    }
  }
})();
