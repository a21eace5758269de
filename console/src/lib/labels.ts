// Labels as people type them: `team: emea, site: lab`.

export function labelsOf(text: string): { labels: Record<string, string>; problem: string } {
  const labels: Record<string, string> = {};
  for (const part of text.split(/[,\n]/)) {
    if (part.trim() === '') continue;
    const at = part.search(/[:=]/);
    const key = at < 0 ? '' : part.slice(0, at).trim();
    if (!/^[A-Za-z0-9._/-]{1,63}$/.test(key)) {
      return { labels: {}, problem: `"${part.trim()}" is no label: write a key of letters, digits, "-", ".", "_" or "/", then a colon and a value.` };
    }
    labels[key] = part.slice(at + 1).trim();
  }
  return { labels, problem: '' };
}
