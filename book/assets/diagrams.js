// Draws the page's Mermaid diagrams, in the colours of the current theme, again whenever the reader changes it.
(() => {
  const isDark = () => document.documentElement.dataset.theme === "dark";
  const diagrams = [];

  async function draw() {
    mermaid.initialize({ startOnLoad: false, theme: isDark() ? "dark" : "neutral", fontFamily: "inherit" });
    for (const [index, { element, source }] of diagrams.entries()) {
      try {
        const { svg } = await mermaid.render(`diagram-${index}`, source);
        element.innerHTML = svg;
        element.dataset.drawn = "yes";
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
    draw();
    let dark = isDark();
    new MutationObserver(() => {
      if (isDark() !== dark) {
        dark = isDark();
        draw();
      }
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  });
})();
