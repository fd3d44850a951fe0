// Behaviour of the console: palette, keys, theme, copying, toasts, times, selection, the badge of the live stream.
// Everything works without it; listeners sit on the document only, so that replaced elements need no wiring.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- toasts -------------------------------------------------------------------------------------------------
  const toast = (text) => {
    const item = document.createElement("div");
    item.className = "toast";
    const words = document.createElement("p");
    words.textContent = text;
    item.append(words);
    $("#toasts")?.append(item);
    setTimeout(() => item.remove(), 4000);
  };
  all("[data-fade]").forEach((item) => setTimeout(() => item.remove(), 6000));
  const here = new URL(location.href);
  if (here.searchParams.has("flash")) {
    here.searchParams.delete("flash");
    history.replaceState(history.state, "", here);
  }

  // Where tabs do not fit, the current one is in sight.
  all(".tabs [aria-current], .views [aria-current]").forEach((tab) => {
    const bar = tab.parentElement;
    if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft = tab.offsetLeft - bar.offsetLeft - 24;
  });

  // ---- palette ------------------------------------------------------------------------------------------------
  let asked = 0;
  const options = () => all("#palette-results [role=option]");
  const choose = (step) => {
    const list = options();
    if (!list.length) return;
    const now = list.findIndex((o) => o.getAttribute("aria-selected") === "true");
    const next = list[(now + step + list.length) % list.length];
    list.forEach((o) => o.setAttribute("aria-selected", String(o === next)));
    $("#palette-input").setAttribute("aria-activedescendant", next.id);
    next.scrollIntoView({ block: "nearest" });
  };
  const search = async () => {
    const turn = ++asked;
    try {
      const answer = await fetch("/palette?q=" + encodeURIComponent($("#palette-input").value), { headers: { "HX-Request": "true" } });
      const text = answer.ok ? await answer.text() : "";
      if (turn !== asked) return;
      const page = new DOMParser().parseFromString(text, "text/html");
      $("#palette-results").replaceChildren(...page.body.childNodes);
      options().forEach((o, n) => { o.id = "palette-option-" + n; o.setAttribute("aria-selected", String(n === 0)); });
      if (options().length) $("#palette-input").setAttribute("aria-activedescendant", "palette-option-0");
    } catch { /* the server is away: keep what is there */ }
  };
  const openPalette = () => {
    const dialog = $("#palette");
    if (!dialog || dialog.open) return;
    dialog.showModal();
    $("#palette-input").select();
    search();
  };

  // ---- rows ---------------------------------------------------------------------------------------------------
  const rows = () => all("[data-rows] > *").filter((row) => row.offsetParent);
  const cursor = () => $("[data-rows] > .cursor");
  let place = -1;
  const keep = () => { if (place >= 0 && !cursor()) rows()[place]?.classList.add("cursor"); };
  const move = (step) => {
    const list = rows();
    if (!list.length) return;
    const old = cursor();
    const next = list[Math.min(list.length - 1, Math.max(0, list.indexOf(old) + step))];
    old?.classList.remove("cursor");
    next.classList.add("cursor");
    place = list.indexOf(next);
    next.scrollIntoView({ block: "nearest" });
  };
  const count = () => all("[data-selection]").forEach((area) => {
    const boxes = all("[data-pick]", area);
    const picked = boxes.filter((b) => b.checked).length;
    all("[data-count]", area).forEach((n) => { n.textContent = String(picked); });
    const master = $("[data-pick-all]", area);
    if (master) {
      master.checked = boxes.length > 0 && picked === boxes.length;
      master.indeterminate = picked > 0 && picked < boxes.length;
    }
  });

  // ---- clicks -------------------------------------------------------------------------------------------------
  document.addEventListener("click", async (event) => {
    const at = (selector) => event.target.closest?.(selector);
    if (at("[data-open=palette]")) { event.preventDefault(); openPalette(); return; }
    if (at("[data-dismiss]")) { at(".toast, .banner")?.remove(); return; }
    if (event.target.matches?.("dialog")) { event.target.close(); return; }
    if (at("[data-clear]")) { all("[data-pick]").forEach((b) => { b.checked = false; }); count(); return; }
    const copy = at("[data-copy], [data-copy-from]");
    if (copy) {
      const text = copy.dataset.copy || copy.parentElement.querySelector("[data-copied]")?.textContent || document.getElementById(copy.dataset.copyFrom)?.textContent || "";
      try { await navigator.clipboard.writeText(text.trim()); toast("Copied"); } catch { toast("The browser does not allow copying; mark the text"); }
    }
    all("details.more[open]").forEach((d) => { if (!d.contains(event.target)) d.open = false; });
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-pick-all]")) all("[data-pick]", event.target.closest("[data-selection]")).forEach((b) => { b.checked = event.target.checked; });
    if (event.target.matches("[data-pick], [data-pick-all]")) count();
  });
  let typing;
  document.addEventListener("input", (event) => {
    if (event.target.id !== "palette-input") return;
    clearTimeout(typing);
    typing = setTimeout(search, 90);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.closest("#palette")) {
      const chosen = $("#palette-results [aria-selected=true]");
      if (chosen) { event.preventDefault(); location.href = chosen.getAttribute("href"); }
      return;
    }
    const theme = event.submitter?.matches("[data-theme-switch]") ? event.submitter : null;
    if (theme) {
      event.preventDefault();
      const next = theme.value;
      if (next) document.documentElement.dataset.theme = next; else delete document.documentElement.dataset.theme;
      fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form, theme)) }).catch(() => {});
      const [value, icon] = { dark: ["light", "sun"], light: ["", "monitor"] }[next] || ["dark", "moon"];
      all("[data-theme-switch]").forEach((b) => {
        b.value = value;
        const use = $("use", b);
        use.setAttribute("href", use.getAttribute("href").replace(/#.*/, "#" + icon));
      });
    }
  });

  // ---- keys ---------------------------------------------------------------------------------------------------
  const places = { f: "/", a: "/agents", t: "/tasks", l: "/events" };
  let gone = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); openPalette(); return; }
    if ($("#palette")?.open) {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(event.key === "ArrowDown" ? 1 : -1); }
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]") || event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    if (Date.now() - gone < 1200 && places[event.key]) { gone = 0; location.href = places[event.key]; return; }
    gone = 0;
    switch (event.key) {
      case "g": gone = Date.now(); break;
      case "/": { const field = $("[data-filter]"); if (field) { event.preventDefault(); field.focus(); field.select(); } break; }
      case "?": $("#keys")?.showModal(); break;
      case "j": move(1); break;
      case "k": move(-1); break;
      case "x": $("[data-pick]", cursor() || document.createElement("i"))?.click(); break;
      case "o": $("a[href]", cursor() || document.createElement("i"))?.click(); break;
    }
  });

  // ---- relative times -----------------------------------------------------------------------------------------
  let skew = 0; // this clock minus the server's, by the stream's beat
  const rough = (seconds) => seconds < 120 ? seconds + " s" : seconds < 7200 ? Math.floor(seconds / 60) + " min" : seconds < 172800 ? Math.floor(seconds / 3600) + " h" : Math.floor(seconds / 86400) + " d";
  setInterval(() => all("time[data-ago]").forEach((t) => {
    const seconds = Math.max(0, Math.round((Date.now() - skew - Date.parse(t.dateTime)) / 1000));
    if (Number.isFinite(seconds)) t.textContent = rough(seconds) + (t.dataset.ago || "");
  }), 1000);

  // ---- the live stream ----------------------------------------------------------------------------------------
  const badge = () => $("#live-badge");
  let heard = Date.now();
  const fresh = () => {
    heard = Date.now();
    const b = badge();
    if (b?.classList.contains("stale")) { b.classList.remove("stale"); b.textContent = "Live"; }
  };
  document.addEventListener("htmx:sse:after:connection", fresh);
  document.addEventListener("htmx:sse:before:message", (event) => {
    fresh();
    const message = event.detail?.message;
    if (message?.event === "beat" && Number(message.data)) skew = Date.now() - Number(message.data);
  });
  document.addEventListener("htmx:after:swap", () => { count(); keep(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) heard = Date.now(); });
  let tried = Date.now();
  setInterval(() => {
    const b = badge();
    const silent = Date.now() - heard;
    if (!b || document.hidden || silent < 12000) return;
    b.classList.add("stale");
    b.textContent = "Stale · " + rough(Math.round(silent / 1000));
    const stream = $("#live");
    if (stream && !stream._htmx?.sse && Date.now() - tried > 15000) {
      tried = Date.now();
      window.htmx?.ajax("GET", stream.getAttribute("hx-sse:connect"), { source: stream })?.catch?.(() => {});
    }
  }, 1000);
  count();
})();
