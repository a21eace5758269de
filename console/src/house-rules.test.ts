import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.(svelte|ts|css|html|svg)$/.test(file) && !file.includes('.test.') && !file.startsWith('gen'))
  .map((file) => ({ file, text: readFileSync(join(import.meta.dirname, file), 'utf8') }));

describe('the page', () => {
  it('is looked at', () => expect(files.length).toBeGreaterThan(30));

  // Evidence is written by attackers. It reaches the page as text and by no other way.
  it.each([
    ['markup from text', /\{@html|innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc/],
    ['code from text', /\beval\(|new Function\(|javascript:/],
    ['a style in markup, which the policy of the page forbids', /<[a-z][^>]*\sstyle="/],
    ['another host', /https?:\/\/(?!\/)(?!www\.w3\.org)/],
    ['a link that text leads to', /(?:href|src)=\{(?!address\(|url)/],
  ])('has no %s', (_, pattern) => {
    const found = files.filter(({ text }) => pattern.test(text.replace(/\^https\?:\\\/\\\//g, ''))).map(({ file }) => file);
    expect(found).toEqual([]);
  });
});
