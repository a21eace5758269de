// Light or dark: as the system says, or as somebody chose on this machine.
export const THEMES = ['system', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const KEY = 'countermove-theme';

function kept(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? 'system';
  } catch {
    return 'system';
  }
}

class Appearance {
  theme = $state<Theme>(kept());

  constructor() {
    this.show();
  }

  next(): void {
    this.theme = THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length] ?? 'system';
    try {
      localStorage.setItem(KEY, this.theme);
    } catch {
      // A browser that keeps nothing forgets the choice with the page.
    }
    this.show();
  }

  private show(): void {
    if (this.theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.theme;
  }
}

export const appearance = new Appearance();
