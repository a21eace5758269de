import { mount } from 'svelte';
import App from './App.svelte';
import './styles/theme.css';
import './styles/base.css';
import './styles/frame.css';
import './styles/incident.css';
import './styles/evidence.css';
import './styles/pages.css';
import './styles/narrow.css';
import './styles/print.css';

const target = document.getElementById('app');
if (target) mount(App, { target });
