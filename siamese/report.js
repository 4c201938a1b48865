"use strict";
(() => {
  const PAGE = 50;
  const { rows, further } = JSON.parse(document.getElementById("data").textContent);
  const number = (digits) => (value) => (value === null ? "" : value.toFixed(digits));
  const text = (value) => (value === null ? "" : String(value));
  const columns = [
    { name: "claim_id", title: "Claim", show: text },
    { name: "decision", title: "Decision", show: text },
    { name: "reason", title: "Reason", show: text },
    { name: "questioned_picture", title: "Questioned" },
    { name: "reference_picture", title: "Closest reference" },
    { name: "p_genuine", title: "P(genuine)", show: number(3), numeric: true },
    { name: "log10_lr", title: "log10 LR", show: number(2), numeric: true },
    { name: "distance", title: "Distance", show: number(3), numeric: true },
    { name: "n_references", title: "References", show: text, numeric: true },
    ...further.map((name) => ({ name, title: name, show: text })),
  ];
  const $ = (id) => document.getElementById(id);
  // Riskiest first: what a person must look at is on top.
  let order = { name: "p_genuine", rising: true };
  let page = 0;

  const element = (tag, content, className) => {
    const made = document.createElement(tag);
    if (content !== undefined) made.textContent = content;
    if (className) made.className = className;
    return made;
  };

  for (const reason of [...new Set(rows.map((row) => row.reason))].sort()) {
    $("reason").append(element("option", reason));
  }

  const heads = columns.map((column) => {
    const head = element("th");
    head.scope = "col";
    if (!column.show) {
      head.textContent = column.title;
    } else {
      const button = element("button", column.title);
      button.type = "button";
      button.addEventListener("click", () => {
        order = { name: column.name, rising: order.name === column.name ? !order.rising : true };
        page = 0;
        draw();
      });
      head.append(button);
    }
    $("head").append(head);
    return head;
  });

  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null) return 1;
    if (b === null) return -1;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  };

  const picture = (row, column) => {
    const cell = element("td", undefined, "picture-cell");
    const questioned = column.name === "questioned_picture";
    const file = (questioned ? row.questioned : row.closest_reference) ?? "";
    if (row[column.name]) {
      const image = element("img", undefined, "picture");
      image.loading = "lazy";
      image.src = row[column.name];
      image.alt = `${questioned ? "Questioned signature" : "Closest reference"} of claim ${row.claim_id}`;
      cell.append(image);
    }
    const quality = questioned ? row.questioned_quality : row.reference_quality;
    const told = questioned ? quality : `of the references, the worst is ${quality}`;
    const note = quality && quality !== "ok" ? `${file} (${told})` : file;
    cell.append(element("div", note, "small"));
    return cell;
  };

  const draw = () => {
    const wanted = $("search").value.toLowerCase();
    const found = rows.filter(
      (row) =>
        (!$("decision").value || row.decision === $("decision").value) &&
        (!$("reason").value || row.reason === $("reason").value) &&
        (!wanted ||
          [row.claim_id, row.questioned, row.closest_reference, row.reason_detail, ...further.map((f) => row[f])]
            .some((value) => text(value).toLowerCase().includes(wanted))),
    );
    found.sort((a, b) => {
      const result = compare(a[order.name], b[order.name]);
      const empty = a[order.name] === null || b[order.name] === null;
      return order.rising || empty ? result : -result;
    });
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    heads.forEach((head, i) => {
      const sorted = columns[i].name === order.name;
      head.setAttribute("aria-sort", sorted ? (order.rising ? "ascending" : "descending") : "none");
    });
    $("body").replaceChildren(
      ...found.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
        const line = element("tr");
        for (const column of columns) {
          if (!column.show) {
            line.append(picture(row, column));
            continue;
          }
          const cell = element("td", column.show(row[column.name]), column.numeric ? "number" : "");
          if (column.name === "claim_id") cell.className = "id";
          if (column.name === "decision") cell.className = `badge ${row.decision}`;
          if (column.name === "reason") cell.append(element("div", row.reason_detail ?? "", "small"));
          line.append(cell);
        }
        return line;
      }),
    );
    $("shown").textContent = `${found.length} of ${rows.length} claims, page ${page + 1} of ${pages}`;
    $("previous").disabled = page === 0;
    $("next").disabled = page >= pages - 1;
  };

  for (const id of ["decision", "reason", "search"]) {
    $(id).addEventListener("input", () => {
      page = 0;
      draw();
    });
  }
  $("previous").addEventListener("click", () => { page -= 1; draw(); });
  $("next").addEventListener("click", () => { page += 1; draw(); });
  draw();
})();
