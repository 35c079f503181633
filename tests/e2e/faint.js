// Text whose contrast with what lies behind it is below WCAG's AA: 4.5, or 3 where it is large.
const dot = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
const pen = dot.getContext("2d", { willReadFrequently: true });
const over = (colours) => {  // one colour over the other, as the browser mixes them
  pen.clearRect(0, 0, 1, 1);
  for (const colour of colours) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
  return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const light = (rgb) => {
  const [r, g, b] = rgb.map((x) => x / 255).map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, style = getComputedStyle(element);
  const unseen = !walker.currentNode.data.trim() || !element.getClientRects().length || style.visibility === "hidden";
  if (unseen || element.closest(":disabled, .visually-hidden, script, option")) continue;
  const behind = [];
  for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
  const below = light(over(behind)), text = light(over([...behind, style.color]));
  const ratio = (Math.max(below, text) + 0.05) / (Math.min(below, text) + 0.05);
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${element.className}: ${element.textContent}`);
}
return faint;
