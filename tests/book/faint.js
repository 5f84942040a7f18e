// WCAG contrast of text and links with what is behind them (backgrounds may be
// see-through): what falls below 4.5.
() => {
    const parts = color => {
        const [r, g, b, a] = color.match(/[\d.]+/g).map(Number);
        return [r, g, b, a ?? 1]; };
    const over = (top, under) => top.slice(0, 3)
        .map((v, i) => v*top[3] + under[i]*(1 - top[3])).concat(1);
    const luminance = c => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
        const v = c[i]/255;
        return sum + weight*(v <= 0.04045 ? v/12.92 : ((v + 0.055)/1.055)**2.4); }, 0);
    const behind = node => {
        const own = node ? parts(getComputedStyle(node).backgroundColor)
            : [255, 255, 255, 1];
        return own[3] === 1 ? own : over(own, behind(node.parentElement)); };
    return [...document.querySelectorAll('article p, article li, article p a,'
            + ' article li a, article figcaption')]
        .filter(node => node.checkVisibility() && node.innerText.trim()).map(node => {
            const back = behind(node), color = parts(getComputedStyle(node).color);
            const [a, b] = [back, over(color, back)].map(luminance);
            return [(Math.max(a, b) + 0.05)/(Math.min(a, b) + 0.05),
                node.tagName + ': ' + node.innerText.slice(0, 60)]; })
        .filter(([contrast]) => contrast < 4.5); }
