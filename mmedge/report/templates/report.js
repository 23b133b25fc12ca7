// Sorting and filtering of tables of class "sortable"; without this script they are complete.
(function () {
  "use strict";

  function key(cell) {
    var value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim() : Number(value);
  }

  function compare(a, b) {
    return typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  function sort(table, column, direction) {
    var body = table.tBodies[0];
    var rows = Array.from(body.rows);
    rows.sort(function (a, b) {
      return direction * compare(key(a.cells[column]), key(b.cells[column]));
    });
    body.append.apply(body, rows);
  }

  function makeSortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (heading, column, headings) {
      var button = document.createElement("button");
      button.type = "button";
      button.append.apply(button, Array.from(heading.childNodes));
      heading.append(button);
      button.addEventListener("click", function () {
        var up = heading.getAttribute("aria-sort") !== "ascending";
        headings.forEach(function (other) { other.removeAttribute("aria-sort"); });
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up ? 1 : -1);
      });
    });
  }

  function makeFilter(table) {
    var rows = Array.from(table.tBodies[0].rows);
    var label = document.createElement("label");
    var input = document.createElement("input");
    var count = document.createElement("span");
    label.className = "filter";
    label.append("Filter ", input, " ", count);
    input.type = "search";
    input.id = table.id + "-filter";
    count.setAttribute("role", "status");
    function apply() {
      var wanted = input.value.toLowerCase();
      var shown = 0;
      rows.forEach(function (row) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = shown + " of " + rows.length + " rows";
    }
    input.addEventListener("input", apply);
    table.parentElement.before(label);
    apply();
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    makeSortable(table);
    makeFilter(table);
  });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (details) { details.open = true; });
  });
})();
