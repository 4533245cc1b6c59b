// Resolves to true as soon as everything that scripts draw has been drawn, to false if it never is.
async patience => {
  const done = async () => {
    if (document.querySelector('.math') && !window.MathJax?.startup?.promise) return false;
    await window.MathJax?.startup?.promise;
    return [...document.querySelectorAll('pre.mermaid')].every(diagram => diagram.dataset.drawn);
  };
  for (const end = Date.now() + patience; Date.now() < end; await new Promise(tick => setTimeout(tick, 50))) {
    if (await done()) return true;
  }
  return false;
}
