"use strict";
// sorting: a click or Enter on a column's head; cells without a value stay last
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const value = row => { const cell = row.cells[column]; return (cell.dataset.value ?? cell.textContent).trim(); };
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      }));
    };
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
  });
}
// pointing at an arm, in a table or a figure, finds it everywhere
const tip = document.getElementById("tip");
let hot = null;
function light(arm) {
  if (arm === hot) return;
  hot = arm;
  document.querySelectorAll(".hot").forEach(one => one.classList.remove("hot"));
  if (arm !== null) document.querySelectorAll(`[data-arm="${arm}"]`).forEach(one => one.classList.add("hot"));
  document.querySelectorAll("figure svg").forEach(one => one.classList.toggle("dim", arm !== null && one.querySelector(".hot") !== null));
}
document.addEventListener("pointerover", event => {
  const target = event.target.closest?.("[data-arm]");
  light(target ? target.dataset.arm : null);
  const said = event.target.closest?.("[data-tip]")?.dataset.tip;
  tip.hidden = !said;
  tip.textContent = said ?? "";
});
document.addEventListener("pointermove", event => {
  if (tip.hidden) return;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 6))}px`;
  tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
});
