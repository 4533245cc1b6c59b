// What is wrong with the page as it stands.
() => {
  const faults = [];
  const say = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 160)}`);
  if (!document.title.trim()) faults.push('no title');
  if (document.querySelectorAll('article h1, .bd-search-container h1').length !== 1) faults.push('not exactly one main heading');
  for (const image of document.images) {
    if (!image.alt.trim() && image.getAttribute('role') !== 'presentation') say('image without alt text', image);
    if (image.complete && image.naturalWidth === 0) say('image without pixels', image);
  }
  for (const node of document.querySelectorAll('mjx-merror, [data-mjx-error]')) say('formula with an error', node.closest('.math') ?? node);
  for (const formula of document.querySelectorAll('.math')) {
    if (!formula.querySelector('mjx-container')) say('formula not typeset', formula);
  }
  for (const diagram of document.querySelectorAll('pre.mermaid')) {
    if (!diagram.querySelector('svg')) say('diagram not drawn', diagram);
  }
  return faults;
}
