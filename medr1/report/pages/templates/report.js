
"use strict";
// Filter and sort the gallery. Without JavaScript the page shows all items, and no controls.
(() => {
  const controls = document.getElementById("controls");
  if (!controls) return;
  const list = document.getElementById("items");
  const items = [...list.children].map((element) => ({
    element,
    codes: element.dataset.codes.split(" "),
    text: element.textContent.toLowerCase(),
    place: Number(element.dataset.place),
    confidence: Number(element.dataset.confidence),
    length: Number(element.dataset.length),
  }));
  const find = document.getElementById("find");
  const sort = document.getElementById("sort");
  const filters = [...controls.querySelectorAll("select[data-place]")];
  const shown = document.getElementById("shown");

  // an item is shown if it has the chosen value of each filter, and all words of the search
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const item of items) {
      const fits = filters.every((f) => f.value === "" || item.codes[f.dataset.place] === f.value)
        && words.every((word) => item.text.includes(word));
      item.element.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${items.length} shown`;
  }

  // by place in the file, or by confidence or length from high to low
  function order() {
    const key = sort.value;
    const sign = key === "place" ? 1 : -1;
    items.sort((a, b) => sign * (a[key] - b[key]) || a.place - b.place);
    list.append(...items.map((item) => item.element));
  }

  for (const f of filters) f.addEventListener("change", filter);
  find.addEventListener("input", filter);
  sort.addEventListener("change", order);
  document.getElementById("reset").addEventListener("click", () => {
    for (const f of filters) f.value = "";
    find.value = "";
    sort.value = "place";
    order();
    filter();
  });
  // on paper nothing can be opened, so closed parts are open while the page is printed
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open]):not(.trace)")];
    for (const element of closed) element.open = true;
  });
  addEventListener("afterprint", () => {
    for (const element of closed) element.open = false;
  });
  controls.hidden = false;
  filter();
})();
