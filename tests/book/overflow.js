// What sticks out to the right, unless it lies in a box of its own that scrolls.
() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width && !document.querySelector('article')) return [];
  const scrolls = element => {
    for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
      if (box.matches('article.bd-article')) return false;
      if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(box).overflowX)) return true;
    }
    return false;
  };
  const wide = [...document.querySelectorAll('article *')].filter(
    element => element.getClientRects().length && element.getBoundingClientRect().right > width + 1 && !scrolls(element));
  const faults = wide.slice(0, 3).map(element => `wider than the screen: ${element.outerHTML.slice(0, 160)}`);
  if (document.documentElement.scrollWidth > width) faults.push(`page scrolls sideways: ${document.documentElement.scrollWidth} > ${width} px`);
  return faults;
}
