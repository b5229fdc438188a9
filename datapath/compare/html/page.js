// Makes the columns of the table of all figures sortable. The page is complete without it.
"use strict";

const table = document.querySelector("table.sortable");
const body = table.tBodies[0];
const headings = [...table.tHead.rows[0].cells];

function key(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

function sortBy(column) {
  const heading = headings[column];
  const descending = heading.ariaSort === "ascending";
  headings.forEach((other) => (other.ariaSort = null));
  heading.ariaSort = descending ? "descending" : "ascending";
  const sign = descending ? -1 : 1;
  body.append(...[...body.rows].sort((a, b) => sign * compare(key(a, column), key(b, column))));
}

headings.forEach((heading, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sortBy(column));
  heading.append(button);
});
