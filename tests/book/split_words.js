/* Words and numbers in tables that go on in a second line: a reader sees "0.0" and
   "05". Names of 14 characters or more may break, at their joints. */
() => {
  const found = [];
  for (const cell of document.querySelectorAll("article td, article th")) {
    if (!cell.checkVisibility()) continue;
    const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode;
      if (text.parentElement.closest("mjx-container, code")) continue;
      for (const word of text.data.matchAll(/[\p{L}\p{N}.+−]{2,13}/gu)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
        const lines = new Set(boxes.map((box) => Math.round(box.top)));
        if (lines.size > 1) found.push(word[0]);
      }
    }
  }
  return found;
}
