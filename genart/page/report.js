
"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // light and dark
  const theme = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";
  const say = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  const remember = (value) => { try { localStorage.setItem("genart-theme", value); } catch { /* not every browser keeps things for files */ } };
  const remembered = () => { try { return localStorage.getItem("genart-theme"); } catch { return null; } };
  const toggle = () => { root.dataset.theme = isDark() ? "light" : "dark"; remember(root.dataset.theme); say(); };
  if (["light", "dark"].includes(remembered())) root.dataset.theme = remembered();
  theme.hidden = false;
  theme.addEventListener("click", toggle);
  prefersDark.addEventListener("change", say);
  say();

  // from part to part
  const parts = all("main > section");
  const move = (step) => {
    const above = parts.filter((part) => part.getBoundingClientRect().top < 40).length - 1;
    const here = parts.indexOf(document.activeElement) >= 0 ? parts.indexOf(document.activeElement) : above;
    const next = parts[Math.min(parts.length - 1, Math.max(0, here + step))];
    next.scrollIntoView();
    next.focus({ preventScroll: true });
  };

  // stages open when a link leads to them
  const open = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") { target.open = true; target.firstElementChild.focus(); }
  };
  addEventListener("hashchange", open);
  open();

  // pictures
  const viewer = document.getElementById("viewer");
  const pictures = all("a.view");
  let shown = 0;
  const show = (index) => {
    shown = (index + pictures.length) % pictures.length;
    const link = pictures[shown], small = link.querySelector("img"), image = viewer.querySelector("img");
    image.src = small.naturalWidth >= 400 ? small.src : link.href;
    image.alt = small.alt;
    image.onerror = () => { image.onerror = null; image.src = small.src; };
    viewer.querySelector("span").textContent = `${link.dataset.name} (${shown + 1} of ${pictures.length})`;
    if (!viewer.open) viewer.showModal();
  };
  pictures.forEach((link, index) => link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    show(index);
  }));
  viewer.addEventListener("click", (event) => {
    const step = event.target.dataset.step;
    if (step === "0" || event.target === viewer) viewer.close();
    else if (step) show(shown + Number(step));
  });
  viewer.addEventListener("close", () => pictures[shown].focus());

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "VIDEO") return;
    if (viewer.open) {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) show(shown + step);
    } else if (event.key === "t") toggle();
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
  });

  // numbers under the pointer
  for (const figure of all(".chart")) {
    const curves = JSON.parse(figure.dataset.curves), [low, high] = JSON.parse(figure.dataset.span);
    const drawing = figure.querySelector(":scope > svg"), cursor = drawing.querySelector(".cursor"), told = all("output", figure);
    const [left, right] = all(".rule", drawing).slice(0, 1).flatMap((rule) => [rule.x1.baseVal.value, rule.x2.baseVal.value]);
    const nearest = (values, x) => values.reduce((best, value, i) => (Math.abs(value - x) < Math.abs(values[best] - x) ? i : best), 0);
    drawing.addEventListener("pointermove", (event) => {
      const box = drawing.getBoundingClientRect(), place = (event.clientX - box.left) / box.width * drawing.viewBox.baseVal.width;
      const share = Math.min(1, Math.max(0, (place - left) / (right - left))), x = low + share * (high - low);
      cursor.setAttribute("x1", left + share * (right - left));
      cursor.setAttribute("x2", left + share * (right - left));
      cursor.setAttribute("visibility", "visible");
      curves.forEach((curve, i) => { told[i].textContent = curve.y[nearest(curve.x, x)].toPrecision(3); });
      told[curves.length].textContent = x.toPrecision(3);
    });
    drawing.addEventListener("pointerleave", () => {
      cursor.setAttribute("visibility", "hidden");
      told.forEach((output) => { output.textContent = ""; });
    });
  }
})();
