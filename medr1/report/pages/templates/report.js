
"use strict";
// The gallery: filters, order, pages, links to items, and enlarged images. Without JavaScript the
// page shows all items, and no controls.
(() => {
  const controls = document.getElementById("controls");
  if (!controls) return;
  const byId = (id) => document.getElementById(id);
  const [list, find, sort, size, shown] = ["items", "find", "sort", "size", "shown"].map(byId);
  const menus = [...controls.querySelectorAll("select[data-place]")];
  const pagers = [...document.querySelectorAll(".pager")];
  const items = [...list.children].map((element, place) => ({
    element,
    place,
    codes: element.dataset.codes.split(" "),
    wrong: element.classList.contains("wrong"),
    confidence: Number(element.dataset.confidence),
    length: Number(element.dataset.length),
  }));
  let link = null; // the link that was followed: its label, and for each facet the codes that fit
  let matching = items;
  let page = 0;

  // the text of an item, which the search looks at; made when it is first needed
  const textOf = (item) => (item.text ??= item.element.textContent.toLowerCase());

  // an item is shown if it has the chosen value of each menu and of the link, and all words
  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = menus.filter((menu) => menu.value !== "");
    matching = items.filter((item) =>
      chosen.every((menu) =>
        menu.value === "wrong" ? item.wrong : item.codes[menu.dataset.place] === menu.value)
      && (!link || link.codes.every(([place, codes]) => codes.includes(item.codes[place])))
      && words.every((word) => textOf(item).includes(word)));
    const key = sort.value;
    if (key !== "place") matching.sort((a, b) => b[key] - a[key] || a.place - b.place);
    page = 0;
    draw();
  }

  // the images of an item whose data are in another item
  function copyImages(element) {
    for (const same of element.querySelectorAll("a.same")) {
      const button = byId(same.dataset.image).parentElement.cloneNode(true);
      button.firstElementChild.removeAttribute("id");
      same.replaceWith(button);
    }
  }

  // shows one page of the matching items, in their order
  function draw() {
    const perPage = Number(size.value);
    const pages = Math.max(1, Math.ceil(matching.length / perPage));
    page = Math.min(Math.max(0, page), pages - 1);
    const visible = matching.slice(page * perPage, (page + 1) * perPage);
    const elements = new Set(visible.map((item) => item.element));
    for (const item of items) item.element.hidden = !elements.has(item.element);
    elements.forEach(copyImages);
    list.append(...elements);
    for (const pager of pagers) {
      pager.hidden = pages === 1;
      pager.querySelector("span").textContent = `page ${page + 1} of ${pages}`;
      pager.querySelector("[data-step='-1']").disabled = page === 0;
      pager.querySelector("[data-step='1']").disabled = page === pages - 1;
    }
    const names = menus.filter((menu) => menu.value !== "").map(
      (menu) => `${menu.dataset.label}: ${menu.selectedOptions[0].textContent}`);
    if (link) names.unshift(link.label);
    shown.textContent = `${matching.length} of ${items.length} items`
      + (names.length ? `: ${names.join("; ")}` : "");
  }

  function clear() {
    for (const menu of menus) menu.value = "";
    find.value = "";
    sort.value = "place";
    link = null;
  }

  // follows a link such as data-show="1=0,2": the items with value 0 or 2 of facet 1
  function follow(anchor) {
    clear();
    const codes = anchor.dataset.show.split(" ").map((part) => part.split("="));
    link = { label: anchor.dataset.label, codes: codes.map(([place, all]) => [place, all.split(",")]) };
    if ([...sort.options].some((option) => option.value === anchor.dataset.sort)) {
      sort.value = anchor.dataset.sort;
    }
    filter();
  }

  // shows the item that the address names, whatever page it is on
  function openAddressed() {
    const name = location.hash.slice(1);
    const item = items.find(({ element }) => element.id === name);
    if (!item) return;
    if (!matching.includes(item)) {
      clear();
      filter();
    }
    page = Math.floor(matching.indexOf(item) / Number(size.value));
    draw();
    item.element.scrollIntoView();
    item.element.querySelector("h3 a").focus({ preventScroll: true });
  }

  for (const menu of menus) menu.addEventListener("change", filter);
  for (const menu of [sort, size]) menu.addEventListener("change", filter);
  find.addEventListener("input", filter);
  byId("reset").addEventListener("click", () => {
    clear();
    filter();
  });
  byId("worst").addEventListener("click", () => {
    clear();
    const menu = menus.find((one) => one.dataset.name === "kind");
    if (menu) menu.value = "wrong";
    if (sort.querySelector("[value=confidence]")) sort.value = "confidence";
    filter();
  });
  for (const pager of pagers) {
    pager.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      page += Number(button.dataset.step);
      draw();
      controls.scrollIntoView();
      list.querySelector(".item:not([hidden]) h3 a")?.focus({ preventScroll: true });
    });
  }
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest("a[data-show]");
    if (anchor) follow(anchor);
  });
  addEventListener("hashchange", openAddressed);

  // an image, as large as the window allows
  const dialog = byId("large");
  list.addEventListener("click", (event) => {
    const image = event.target.closest("button.enlarge")?.querySelector("img");
    if (!image) return;
    const large = image.cloneNode();
    large.removeAttribute("id");
    byId("large-image").replaceChildren(large);
    const title = image.closest(".item").querySelector("h3").textContent;
    byId("large-note").textContent =
      `${title}: ${image.alt}, a copy of ${image.naturalWidth} × ${image.naturalHeight} pixels`
      + ("small" in image.dataset ? "; a larger one did not fit on the page" : "");
    dialog.showModal();
  });
  byId("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // outside of what it holds
  });

  // on paper nothing can be opened, so closed parts are open while the page is printed
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll(
      ".item:not([hidden]) details:not([open]):not(.trace)")];
    for (const element of closed) element.open = true;
  });
  addEventListener("afterprint", () => {
    for (const element of closed) element.open = false;
  });
  controls.hidden = false;
  filter();
  list.classList.add("ready");
  openAddressed();
})();
