"use strict";
(() => {
  const PAGE = 50;
  const { rows, further, batch } = JSON.parse(document.getElementById("data").textContent);
  const VERDICTS = ["", "genuine", "forged"];
  const number = (digits) => (value) => (value === null ? "" : value.toFixed(digits));
  const text = (value) => (value === null ? "" : String(value));
  const explained = rows.some((row) => row.overlay);
  const columns = [
    { name: "claim_id", title: "Claim", show: text },
    { name: "decision", title: "Decision", show: text },
    { name: "reason", title: "Reason", show: text },
    { name: "questioned_picture", title: "Questioned" },
    { name: "reference_picture", title: "Closest reference" },
    ...(explained ? [{ name: "overlay", title: "Where they differ" }] : []),
    { name: "verdict", title: "Your verdict" },
    { name: "p_genuine", title: "P(genuine)", show: number(3), numeric: true },
    { name: "log10_lr", title: "log10 LR", show: number(2), numeric: true },
    { name: "distance", title: "Distance", show: number(3), numeric: true },
    { name: "n_references", title: "References", show: text, numeric: true },
    ...further.map((title, i) => ({ name: `further ${i}`, title, show: text })),
  ];
  // A manifest's columns have names of their own, so that none can pass for one of the page's.
  const value = (row, name) =>
    name.startsWith("further ") ? row.further[Number(name.slice(8))] : row[name];
  const $ = (id) => document.getElementById(id);
  // Riskiest first: what a person must look at is on top.
  let order = { name: "p_genuine", rising: true };
  let page = 0;
  let size = PAGE;

  // Verdicts are kept by batch and model, where the browser keeps anything for a file.
  const place = `siamese ${batch["Claims fingerprint"]} ${batch["Model"]}`;
  const verdicts = new Map();
  let stored = true;
  const reread = () => {
    try {
      const kept = Object.entries(JSON.parse(localStorage.getItem(place) ?? "{}"));
      verdicts.clear();
      for (const [id, verdict] of kept) if (VERDICTS.includes(verdict)) verdicts.set(id, verdict);
    } catch {
      stored = false; // No storage here: verdicts last until the page is closed.
    }
  };
  reread();
  const judge = (row, verdict) => {
    if (stored) reread(); // Another window, or another part of the report, has written since.
    if (verdict) verdicts.set(row.claim_id, verdict);
    else verdicts.delete(row.claim_id);
    try {
      localStorage.setItem(place, JSON.stringify(Object.fromEntries(verdicts)));
    } catch {
      stored = false;
    }
    counted();
  };
  const counted = () => {
    // Those given in the other parts of a large report are exported there.
    const given = rows.filter((row) => verdicts.has(row.claim_id)).length;
    $("export").textContent = `Export verdicts (${given})`;
    $("export").disabled = given === 0;
  };

  // A cell that a spreadsheet would run as a formula is kept as text by a quote before it; some part cells at semicolons.
  const cell = (value) => {
    const safe = value.replace(/(^|;)(?=[=+\-@\t\r])/g, "$1'");
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const exported = () => {
    const lines = [["claim_id", "verdict", "questioned_id", "decision", "model", "claims_fingerprint"]];
    for (const row of rows) {
      const verdict = verdicts.get(row.claim_id);
      if (verdict) {
        lines.push([row.claim_id, verdict, row.questioned_id, row.decision, batch["Model"], batch["Claims fingerprint"]]);
      }
    }
    const csv = lines.map((line) => line.map(cell).join(",")).join("\r\n");
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([csv, "\r\n"], { type: "text/csv" }));
    link.download = "verdicts.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  };

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
    const head = element("th", undefined, column.numeric ? "number" : "");
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

  // Columns of the manifest are text: where both are numbers they are compared as numbers.
  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null || a === "") return 1;
    if (b === null || b === "") return -1;
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? String(a).localeCompare(String(b)) : x - y;
  };

  const image = (source, alt) => {
    const made = element("img", undefined, "picture");
    made.loading = "lazy";
    made.src = source;
    made.alt = alt;
    return made;
  };

  const picture = (row, column) => {
    const made = element("td", undefined, "picture-cell");
    const questioned = column.name === "questioned_picture";
    const file = (questioned ? row.questioned : row.closest_reference) ?? "";
    if (row[column.name]) {
      const what = questioned ? "Questioned signature" : "Closest reference";
      made.append(image(row[column.name], `${what} of claim ${row.claim_id}`));
    }
    const quality = questioned ? row.questioned_quality : row.reference_quality;
    const told = questioned ? quality : `of the references, the worst is ${quality}`;
    const note = quality && quality !== "ok" ? `${file} (${told})` : file;
    made.append(element("div", note, "small"));
    return made;
  };

  const differences = (row) => {
    const made = element("td", undefined, "differ");
    if (row.overlay) {
      made.append(image(row.overlay, `Claim ${row.claim_id}: the questioned signature in orange over the closest reference in blue`));
      made.append(image(row.difference, `Claim ${row.claim_id}: red where the questioned ink is unlike the reference`));
    }
    return made;
  };

  const verdict = (row) => {
    const made = element("td");
    const choice = element("select");
    choice.setAttribute("aria-label", `Your verdict on claim ${row.claim_id}`);
    for (const value of VERDICTS) {
      const option = element("option", value || "–");
      option.value = value;
      choice.append(option);
    }
    choice.value = verdicts.get(row.claim_id) ?? "";
    choice.addEventListener("input", () => judge(row, choice.value));
    made.append(choice);
    return made;
  };

  const line = (row) => {
    const made = element("tr");
    made.tabIndex = -1;
    made.row = row;
    for (const column of columns) {
      if (column.name === "verdict") made.append(verdict(row));
      else if (column.name === "overlay") made.append(differences(row));
      else if (!column.show) made.append(picture(row, column));
      else {
        const one = element("td", column.show(value(row, column.name)), column.numeric ? "number" : "");
        if (column.name === "claim_id") one.className = "id";
        if (column.name === "decision") one.className = `badge ${row.decision}`;
        if (column.name === "reason") {
          one.className = "reason";
          one.append(element("div", row.reason_detail ?? "", "small"));
        }
        made.append(one);
      }
    }
    return made;
  };

  const risk = (row) => {
    if (row.p_genuine === null) return "";
    if (row.p_genuine < 0.1) return "high";
    return row.p_genuine <= 0.5 ? "middle" : "low";
  };
  const wanted = (row) => {
    const words = $("search").value.toLowerCase();
    const judged = verdicts.has(row.claim_id) ? "given" : "open";
    return (
      (!$("decision").value || row.decision === $("decision").value) &&
      (!$("reason").value || row.reason === $("reason").value) &&
      (!$("risk").value || risk(row) === $("risk").value) &&
      (!$("judged").value || judged === $("judged").value) &&
      (!words ||
        [row.claim_id, row.questioned, row.closest_reference, row.reason_detail, ...row.further]
          .some((one) => text(one).toLowerCase().includes(words)))
    );
  };

  const draw = () => {
    const found = rows.filter(wanted);
    const empty = (row) => [null, ""].includes(value(row, order.name));
    found.sort((a, b) => {
      const result = compare(value(a, order.name), value(b, order.name));
      return order.rising || empty(a) || empty(b) ? result : -result;
    });
    const pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.min(Math.max(page, 0), pages - 1);
    heads.forEach((head, i) => {
      const sorted = columns[i].name === order.name;
      head.setAttribute("aria-sort", sorted ? (order.rising ? "ascending" : "descending") : "none");
    });
    $("body").replaceChildren(...found.slice(page * size, (page + 1) * size).map(line));
    if ($("body").firstChild) $("body").firstChild.tabIndex = 0;
    $("shown").textContent = `${found.length} of ${rows.length} claims, page ${page + 1} of ${pages}`;
    $("previous").disabled = page === 0;
    $("next").disabled = page >= pages - 1;
  };

  const turn = (pages) => {
    page += pages;
    draw();
  };
  for (const id of ["decision", "risk", "reason", "judged", "search"]) {
    $(id).addEventListener("input", () => {
      page = 0;
      draw();
    });
  }
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("export").addEventListener("click", exported);

  const step = (way) => {
    const lines = [...$("body").children];
    const at = lines.findIndex((one) => one.contains(document.activeElement));
    const next = at < 0 ? 0 : Math.min(Math.max(at + way, 0), lines.length - 1);
    lines[next]?.focus();
  };
  const mark = (value) => {
    const made = document.activeElement?.closest?.("#body tr");
    if (!made) return;
    judge(made.row, value);
    made.querySelector("select").value = value;
  };
  const keys = {
    j: () => step(1), k: () => step(-1), n: () => turn(1), p: () => turn(-1),
    g: () => mark("genuine"), f: () => mark("forged"), u: () => mark(""),
    "/": () => $("search").focus(), e: exported,
  };
  document.addEventListener("keydown", (event) => {
    if (!$("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target !== $("keys") && ["INPUT", "SELECT"].includes(event.target.tagName)) return;
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
  // Paper has no pages to turn: all that is found is printed, and pictures are there at once.
  window.addEventListener("beforeprint", () => {
    size = rows.length;
    draw();
    for (const one of document.images) one.loading = "eager";
  });
  window.addEventListener("afterprint", () => {
    size = PAGE;
    draw();
  });

  window.addEventListener("storage", (event) => {
    if (event.key !== place) return;
    reread();
    counted();
    for (const one of $("body").children) {
      const choice = one.querySelector("select");
      if (choice) choice.value = verdicts.get(one.row.claim_id) ?? "";
    }
  });

  counted();
  draw();
})();
