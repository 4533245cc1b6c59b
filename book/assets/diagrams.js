// Draws the page's Mermaid diagrams, in the colours of the current theme, again whenever the reader changes it.
(() => {
  const WIDE = 520; // px; wider diagrams scroll on a phone instead of shrinking until they cannot be read
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen === "dark" || (chosen !== "light" && prefersDark.matches) ? "dark" : "neutral";
  };
  const diagrams = [];

  async function draw(name) {
    const fontFamily = getComputedStyle(document.body).fontFamily;
    mermaid.initialize({ startOnLoad: false, theme: name, fontFamily });
    for (const [index, { element, source }] of diagrams.entries()) {
      try {
        const { svg } = await mermaid.render(`diagram-${index}`, source);
        element.innerHTML = svg;
        element.classList.toggle("wide", element.querySelector("svg").viewBox.baseVal.width > WIDE);
        element.dataset.drawn = name;
      } catch (error) {
        element.textContent = source;
        element.dataset.drawn = "failed";
        console.error(`Mermaid: ${error.message}`);
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const element of document.querySelectorAll("pre.mermaid")) {
      diagrams.push({ element, source: element.textContent.trim() });
    }
    // One drawing after the other: Mermaid keeps its settings globally, and two at once would mix them.
    let shown = theme();
    let drawing = draw(shown);
    const redraw = () => {
      if (theme() === shown) return;
      shown = theme();
      const name = shown;
      drawing = drawing.then(() => draw(name));
    };
    prefersDark.addEventListener("change", redraw);
    new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  });
})();
