"use strict";
// Makes the columns of tables sortable. Without it, the page can be read in full.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (header.classList.contains("pictures")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const first = header.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = header.getAttribute("aria-sort") === first ? other : first;
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = header.classList.contains("number")
        ? (one, two) => sign * (Number(value(one)) - Number(value(two)))
        : (one, two) => sign * value(one).localeCompare(value(two), undefined, { numeric: true });
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}
