r"""
@article{Gu2020,
  title = {Robust Autoencoder {GAN} for Cryo-{EM} Image Denoising},
  author = {Gu, Hanlin and Unarta, Ilona Christy and Huang, Xuhui and Yao, Yuan},
  journal = {arXiv preprint arXiv:2008.07307},
  year = {2020},
  doi = {10.48550/arXiv.2008.07307},
  url = {https://arxiv.org/abs/2008.07307}
}

@incollection{Gu2023,
  title = {Generative Adversarial Networks for Robust Cryo-{EM} Image Denoising},
  author = {Gu, Hanlin and Xian, Yin and Unarta, Ilona Christy and Yao, Yuan},
  booktitle = {Handbook of Mathematical Models and Algorithms in Computer Vision and Imaging},
  publisher = {Springer, Cham},
  pages = {969--1000},
  year = {2023},
  doi = {10.1007/978-3-030-98661-2_126},
  url = {https://doi.org/10.1007/978-3-030-98661-2_126}
}

@article{Bhamre2016,
  title = {Denoising and covariance estimation of single particle cryo-{EM} images},
  author = {Bhamre, Tejal and Zhang, Teng and Singer, Amit},
  journal = {Journal of Structural Biology},
  volume = {195},
  number = {1},
  pages = {72--81},
  year = {2016},
  doi = {10.1016/j.jsb.2016.04.013},
  url = {https://doi.org/10.1016/j.jsb.2016.04.013}
}

@article{Dabov2007,
  title = {Image Denoising by Sparse {3-D} Transform-Domain Collaborative Filtering},
  author = {Dabov, Kostadin and Foi, Alessandro and Katkovnik, Vladimir and Egiazarian, Karen},
  journal = {IEEE Transactions on Image Processing},
  volume = {16},
  number = {8},
  pages = {2080--2095},
  year = {2007},
  doi = {10.1109/TIP.2007.901238},
  url = {https://doi.org/10.1109/TIP.2007.901238}
}

@article{Aharon2006,
  title = {{K-SVD}: An Algorithm for Designing Overcomplete Dictionaries for Sparse Representation},
  author = {Aharon, Michal and Elad, Michael and Bruckstein, Alfred},
  journal = {IEEE Transactions on Signal Processing},
  volume = {54},
  number = {11},
  pages = {4311--4322},
  year = {2006},
  doi = {10.1109/TSP.2006.881199},
  url = {https://doi.org/10.1109/TSP.2006.881199}
}

@inproceedings{Buades2005,
  title = {A non-local algorithm for image denoising},
  author = {Buades, Antoni and Coll, Bartomeu and Morel, Jean-Michel},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  volume = {2},
  pages = {60--65},
  year = {2005},
  doi = {10.1109/CVPR.2005.38},
  url = {https://doi.org/10.1109/CVPR.2005.38}
}

@article{Palovcak2020,
  title = {Enhancing the signal-to-noise ratio and generating contrast for cryo-{EM} images with convolutional
    neural networks},
  author = {Palovcak, Eugene and Asarnow, Daniel and Campbell, Melody G. and Yu, Zanlin and Cheng, Yifan},
  journal = {IUCrJ},
  volume = {7},
  pages = {1142--1150},
  year = {2020},
  doi = {10.1107/S2052252520013184},
  url = {https://doi.org/10.1107/S2052252520013184}
}

@inproceedings{Batson2019,
  title = {{Noise2Self}: Blind Denoising by Self-Supervision},
  author = {Batson, Joshua and Royer, Loic},
  booktitle = {International Conference on Machine Learning},
  pages = {524--533},
  year = {2019},
  url = {https://arxiv.org/abs/1901.11365}
}

@inproceedings{Pang2021,
  title = {Recorrupted-to-Recorrupted: Unsupervised Deep Learning for Image Denoising},
  author = {Pang, Tongyao and Zheng, Huan and Quan, Yuhui and Ji, Hui},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages = {2043--2052},
  year = {2021},
  doi = {https://doi.org/10.1109/CVPR46437.2021.00208}
}

@article{Scheres2005,
  title = {Maximum-likelihood multi-reference refinement for electron microscopy images},
  author = {Scheres, Sjors H. W. and Valle, Mikel and Nu{\~n}ez, Rafael and Sorzano, Carlos O. S. and Marabini, Roberto
            and Herman, Gabor T. and Carazo, Jose-Maria},
  journal = {Journal of Molecular Biology},
  volume = {348},
  pages = {139--149},
  year = {2005},
  doi = {https://doi.org/10.1016/j.jmb.2005.02.031}
}

@inproceedings{Lehtinen2018,
  title = {{Noise2Noise}: Learning Image Restoration without Clean Data},
  author = {Lehtinen, Jaakko and Munkberg, Jacob and Hasselgren, Jon and Laine, Samuli and Karras, Tero and Aittala,
    Miika and Aila, Timo},
  booktitle = {International Conference on Machine Learning},
  pages = {2965--2974},
  year = {2018},
  url = {https://arxiv.org/abs/1803.04189}
}
"""
